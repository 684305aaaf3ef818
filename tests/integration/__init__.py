"""The whole way on real hosts: real root file systems, real applications, real tar programs."""
