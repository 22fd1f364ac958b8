"""Kernels of the C export: what replaces plain C where a core offers more, and computes the same integers.

``groups`` finds rows that read the same vector, ``kernel`` says what a kernel of such a group is, ``proof`` holds the
preconditions, ``selection`` chooses, ``prepared`` are the vectors as kernels read them. One file for each kernel:
``dsp_pairs``, ``dsp_halves``, ``dsp_wide``. ``dsp_rows`` is the machine code of a group, ``dsp_loop`` writes a loop
over units with it, ``dsp_units`` what a unit does with its accumulators (``dsp_scales``, ``choices``, ``uses``). A
kernel knows of matrices and instructions of a Program, never of a cell.
"""
