"""Extensions of murmuration: a clip rule, a server optimiser and a schedule."""
