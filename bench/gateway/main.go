// Command gateway compares Stoa's request path with a bare reverse proxy.
package main

func main() {}
