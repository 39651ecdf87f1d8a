// Package console is the played Fly.io as a local web page.
package console
