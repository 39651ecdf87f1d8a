// Package bench measures flyext's performance as ratios to floors. A floor is
// hand-written code that does the same work for a single service, without a
// library. It is measured in the same run.
//
// The floors, the benchmarks and the tests of both are in the package's test files.
// cmd/speed runs the benchmarks and generates docs/performance.md.
package bench
