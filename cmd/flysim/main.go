// Flysim plays Fly.io towards an extension provider, in any language, at a URL.
package main

func main() {}
