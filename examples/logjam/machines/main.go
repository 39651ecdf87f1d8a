// Machines is Logjam for several machines: they share a database in PostgreSQL
// and remember there, or in Redis, which requests they admitted.
//
//	LOGJAM_KEY=… FLYIO_SIGNING_SECRET=… go run ./examples/logjam/machines \
//		-base-url https://logjam.example/flyio -database-url postgres://… -redis-url redis://…
//
// Everything else is as in examples/logjam.
package main

import (
	"github.com/flyext/flyext/examples/logjam/service"
	"github.com/flyext/flyext/examples/logjam/shared"
)

func main() {
	servers := shared.New()
	service.Main(&servers)
}
