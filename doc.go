// Package flyext makes a Go service a Fly.io extension provider.
package flyext
