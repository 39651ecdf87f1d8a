// Package peers contains only tests. They check that other verification libraries
// accept flytest's signatures and refuse modified requests. The README lists the
// libraries and how to use each one.
//
// It is a separate module, so that flyext does not depend on these libraries.
package peers
