"""The controller: checks virtual servers against each other and the cluster, chooses directors, writes status.

It is not on the data path: with it stopped, monitors, real-server changes and traffic go on.
"""
