package app

import (
	"net"
	"net/http"
	"sync"
)

// connections counts the connections that are open.
type connections struct {
	mu    sync.Mutex
	open  int
	empty chan struct{} // closed when open is 0; nil when nobody waits
}

// change is the server's ConnState hook.
func (c *connections) change(_ net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		c.open++
	case http.StateClosed, http.StateHijacked:
		c.open--
		if c.open == 0 && c.empty != nil {
			close(c.empty)
			c.empty = nil
		}
	}
}

// none returns a channel that is closed when no connection is open.
func (c *connections) none() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open > 0 {
		if c.empty == nil {
			c.empty = make(chan struct{})
		}
		return c.empty
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}
