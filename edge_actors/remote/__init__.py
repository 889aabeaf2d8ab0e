"""What people far away may want of a device in mode `managed`: settings, commands, another bundle.

All of it is the rim's: it decides what the device is built of and when it is built anew. Only what concerns actors
goes through the doors, as messages, so that a recording plays the same.
"""
