//go:build unix

package service

import "syscall"

// keepFilesPrivate makes the files that this process creates from now on accessible
// to its own user only. SQLite's driver creates files that all users can read.
func keepFilesPrivate() { syscall.Umask(0o077) }
