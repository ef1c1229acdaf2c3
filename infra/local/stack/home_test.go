package stack

import (
	"strconv"
	"testing"
)

// With this many servers a port chosen without regard to the others would come
// twice in every run.
func TestNoTwoServersAreGivenOnePort(t *testing.T) {
	p := &ports{taken: map[string]int{"kafka": 20_000, "redis": 20_000}} // as remembered from elsewhere
	of := map[int]string{}
	for i := range 1_000 {
		server := strconv.Itoa(i)
		switch i {
		case 0:
			server = "kafka"
		case 1:
			server = "redis"
		}
		port, err := p.get(server)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := of[port]; ok {
			t.Fatalf("port %d is given to %s and to %s", port, other, server)
		}
		of[port] = server
	}
}
