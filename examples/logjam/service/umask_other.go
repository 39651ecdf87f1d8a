//go:build !unix

package service

// keepFilesPrivate does nothing, because this system has no umask.
func keepFilesPrivate() {}
