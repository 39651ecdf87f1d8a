// Package bench measures how fast flyext is, in ratios to floors that are
// measured in the same run: what one would write by hand for one service, with
// no library around it.
//
// The floors, the benchmarks and the tests that hold both to their word are in
// the package's tests; cmd/speed runs them and makes docs/performance.md.
package bench
