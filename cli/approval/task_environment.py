"""The environment variables through which the process of a task gets its settings."""

APPROVALS = "MURMUR_APPROVED"  # what a task's process is told: the node's list
PARAMETERS = "MURMUR_MOST_PARAMETERS"  # of the largest model that may come
FOLDER = "MURMUR_TASKS"  # where the folders of tasks are made
TOKEN = "MURMUR_TOKEN"  # the task's, for the SuperNode
REFUSED = "MURMUR_REFUSED"  # and its kind, if that is one which a node does not run
