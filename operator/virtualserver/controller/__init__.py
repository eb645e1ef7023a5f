"""The controller: checks virtual servers against each other and the cluster, and says what is so in their status.

It is not on the data path: with it stopped, monitors, real-server changes, traffic and failovers go on.
"""
