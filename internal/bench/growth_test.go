package bench

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// These benchmarks measure how the cost grows with a quantity. cmd/speed draws them by
// name: BenchmarkGrow<panel>/n=<size>/<line>.

func BenchmarkGrowBody(b *testing.B) {
	for _, size := range []int{400, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		b.Run("n="+strconv.Itoa(size), func(b *testing.B) {
			b.Run("sha256", func(b *testing.B) {
				body := provisionBody(size)
				for b.Loop() {
					sha256.Sum256(body)
				}
			})
			b.Run("rfc9421", func(b *testing.B) { rfc9421Verifiers[1].bench(b, size) })
			b.Run("x-signature", func(b *testing.B) { xFlyext.bench(b, size) })
			b.Run("handler", func(b *testing.B) { provision(b, newBatch(size)) })
		})
	}
}

// BenchmarkGrowNonces enters nonces at a rate that keeps n of them live.
func BenchmarkGrowNonces(b *testing.B) {
	for n := 1_000; n <= 10_000_000; n *= 10 {
		b.Run("n="+strconv.Itoa(n), func(b *testing.B) {
			b.Run("store", func(b *testing.B) {
				before := heap()
				f := newFilling(n, n+n/20+64, replayStores[0].open)
				if err := f.enter(n); err != nil {
					b.Fatal(err)
				}
				perNonce := float64(heap()-before) / float64(n)
				for b.Loop() {
					if err := f.enter(1); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(perNonce, "B/live")
			})
		})
	}
}

// BenchmarkGrowKeys verifies a request signed with the last of n keys.
func BenchmarkGrowKeys(b *testing.B) {
	for n := 1; n <= 8; n++ {
		var keys []flyext.Key
		var secrets []string
		for i := range n - 1 {
			secrets = append(secrets, fmt.Sprintf("a signing secret that was rotated away, %d", i))
			keys = append(keys, flyext.Key{ID: keyID, Secret: secrets[i]})
		}
		secrets, keys = append(secrets, secret), append(keys, key)
		b.Run("n="+strconv.Itoa(n), func(b *testing.B) {
			b.Run("rfc9421", func(b *testing.B) {
				verifier{sign: signTargetURI, open: func(tb testing.TB, now time.Time) func(http.Header, []byte) bool {
					return verifies(tb, flyext.MessageSignature(keys...), now)
				}}.bench(b, provisionSize)
			})
			b.Run("x-signature", func(b *testing.B) { admit(b, newBatch(provisionSize), secrets...) })
		})
	}
}

// BenchmarkGrowHeaders verifies a request with n header fields, which the signature
// covers or does not.
func BenchmarkGrowHeaders(b *testing.B) {
	const (
		own        = 5  // fields of rfc9421Header
		maxCovered = 64 // the maximum of flyext
	)
	for _, n := range []int{own, 10, 20, 40, maxCovered, 100} {
		more := withFields(http.Header{}, n-own)
		covered := slices.Clone(byTargetURI)
		for i := range n - own {
			covered = append(covered, fmt.Sprintf("x-field-%d", i))
		}
		b.Run("n="+strconv.Itoa(n), func(b *testing.B) {
			for _, line := range []struct {
				name       string
				components []string
			}{{"covered", covered}, {"there", byTargetURI}} {
				if len(line.components) > maxCovered {
					continue
				}
				b.Run(line.name, func(b *testing.B) {
					verifier{open: openMessageSignature, sign: func(secret string, body []byte, now time.Time) http.Header {
						return rfc9421Header(secret, line.components, more, body, now)
					}}.bench(b, provisionSize)
				})
			}
			b.Run("handler", func(b *testing.B) { provision(b, newBatchWith(provisionSize, n)) })
		})
	}
}
