// Oto turns Go interfaces into typed servers and clients.
package main

func main() {}
