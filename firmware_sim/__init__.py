"""Compile C for a Cortex-M, run it on an emulated one, and count what it executes.

Nothing here knows what a recurrent network is. ``toolchain`` compiles, ``elf`` measures sizes, ``emulator`` runs
functions, ``counting`` counts instructions, ``isa`` finds instructions the core does not have. The tools come with
the ``sim`` extra and are imported where they are used.
"""
