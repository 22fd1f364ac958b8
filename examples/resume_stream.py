"""A stream that is interrupted: its state saved as bytes, restored later, and nothing lost.

python resume_stream.py [EPOCHS]
"""

import sys

import edge_lstm as el
from edge_lstm.data import load, train_test

train, test = train_test(load("basic-motions"))
epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
model = el.train(train, el.TrainOptions(hidden=16, epochs=epochs, validation=0.0)).quantized
recording = test.x[0]

stream = el.Stream(model)
for sample in recording[:60]:
    stream.step(sample)
blob = stream.save()  # the watch goes to sleep; the device's C code writes the same bytes

later = el.Stream(model)
later.restore(blob)
for sample in recording[60:]:
    result = later.step(sample)

uninterrupted = el.run(model, recording[None])["scores"][0]
print(f"{len(blob)} bytes of state; class {model.signature.classes[result['class_index']]}")
print("same scores as without the interruption:", bool((result["scores"] == uninterrupted).all()))
