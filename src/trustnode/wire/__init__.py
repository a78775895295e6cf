"""gRPC from the calling side; node and client use the same.

``channel`` opens connections that trust one venue alone, ``convert`` turns messages and errors into values, ``peer``
calls the methods, ``frame`` reads and writes the data frames. Everything is asynchronous; every call has a deadline.
"""
