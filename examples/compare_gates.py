"""What hard gates cost and save: the same LSTM trained with three choices of gates.

python compare_gates.py [EPOCHS]
"""

import sys

import edge_lstm as el
from edge_lstm.data import load, train_test
from edge_lstm.evaluation import accuracy

train, test = train_test(load("basic-motions"))
epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 40

print("gates                    accuracy  instructions/step  code + tables  RAM (Cortex-M0+)")
for gates in ("soft", "i=soft,f=soft,o=hard", "hard"):
    options = el.TrainOptions(gates=gates, hidden=16, epochs=epochs, validation=0.0)
    model = el.train(train, options).quantized
    cost = el.simulate(model, test.x[:4], device="cortex-m0plus")
    flash = cost.flash_bytes["code"] + cost.flash_bytes["tables"]
    print(
        f"{gates:24} {accuracy(model, test):8.1%} {cost.instructions_per_step.mean:18,.0f}"
        f" {flash:12,} B {cost.ram_bytes['total']:6,} B"
    )
