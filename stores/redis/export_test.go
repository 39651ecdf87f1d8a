package redisstore

import (
	"fmt"
	"strings"
	"time"
)

// SetClock replaces Redis's clock in the script.
func (s *Store) SetClock(now time.Time) {
	s.script = strings.Replace(script, "redis.call('TIME')", fmt.Sprintf("{%d, %d}", now.Unix(), now.Nanosecond()/1000), 1)
}
