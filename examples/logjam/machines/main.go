// Machines is Logjam for several machines. They share a database in PostgreSQL,
// and a replay store in PostgreSQL or Redis.
//
//	LOGJAM_KEY=… FLYIO_SIGNING_SECRET=… go run ./examples/logjam/machines \
//		-base-url https://logjam.example/flyio -database-url postgres://… -redis-url redis://…
//
// All other flags and variables are those of examples/logjam.
package main

import (
	"github.com/flyext/flyext/examples/logjam/service"
	"github.com/flyext/flyext/examples/logjam/shared"
)

func main() {
	servers := shared.New()
	service.Main(&servers)
}
