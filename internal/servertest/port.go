package servertest

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The system gives clients ports from 32768 on, so these two ranges are for servers. A
// listener on the guard of a port reserves it, also against other processes, while no
// server listens on it.
const (
	firstPort  = 20000
	portCount  = 10000
	guardBelow = 10000 // the distance of a port to its guard
)

var errNoPort = errors.New("servertest: no free port")

// reservePort returns a free port, which stays reserved until release is called.
func reservePort() (port string, release func(), err error) {
	for range 1000 {
		n := firstPort + rand.IntN(portCount)
		guard, err := net.Listen("tcp", address(n-guardBelow))
		if err != nil {
			continue
		}
		if !isTaken(n) {
			return strconv.Itoa(n), func() { guard.Close() }, nil
		}
		guard.Close()
	}
	return "", nil, errNoPort
}

// isTaken reports whether a server listens on a port. It does not try to listen itself:
// a process that another test starts at that moment would inherit the listener, and keep
// the port for as long as it has not begun to run its program.
func isTaken(port int) bool {
	conn, err := net.Dial("tcp", address(port))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// FreeAddr returns a loopback address on which nothing listens. No other test gets it
// until this test ends.
func FreeAddr(t testing.TB) string {
	t.Helper()
	port, release, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return net.JoinHostPort("127.0.0.1", port)
}
