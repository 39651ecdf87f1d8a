// Package peers holds tests only: what flytest signs is put before the verifiers
// of other people's libraries, which accept it, and refuse it once it has been
// tampered with. Its README lists the peers and what each of them needs.
//
// It is a module of its own, so that no peer becomes a dependency of flyext.
package peers
