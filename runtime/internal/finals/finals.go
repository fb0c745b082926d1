// Package finals remembers the final statuses of tasks, for times when the store is unavailable.
package finals

import (
	"container/list"
	"strings"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

// A Cache remembers the last 10,000 final statuses that were read. The zero value is ready to use. Its methods are safe
// for concurrent use.
type Cache struct {
	mu   sync.Mutex
	byID map[string]*list.Element // of used
	used list.List                // of final, last used first
}

type final struct {
	id     string
	status backend.Status
}

const maxFinals = 10_000

// Get returns the status of a task, if it is remembered.
func (c *Cache) Get(id string) (backend.Status, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.byID[id]
	if !ok {
		return "", false
	}
	c.used.MoveToFront(at)
	return at.Value.(final).status, true
}

// Put remembers the final status of a task.
func (c *Cache) Put(id string, s backend.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.byID[id]; ok {
		at.Value = final{id, s}
		return
	}
	if c.byID == nil {
		c.byID = map[string]*list.Element{}
	}
	c.byID[id] = c.used.PushFront(final{id, s})
	if len(c.byID) > maxFinals {
		last := c.used.Back()
		delete(c.byID, c.used.Remove(last).(final).id)
	}
}

// Drop forgets a task.
func (c *Cache) Drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.byID[id]; ok {
		delete(c.byID, id)
		c.used.Remove(at)
	}
}

// DropTrees forgets tasks and their subtasks, whose ids begin with that of their source and a slash.
func (c *Cache) DropTrees(ids ...string) {
	roots := make(map[string]bool, len(ids))
	for _, id := range ids {
		roots[id] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, at := range c.byID {
		for end := 0; end < len(id); end++ {
			next := strings.IndexByte(id[end:], '/')
			if end += next; next < 0 {
				end = len(id)
			}
			if roots[id[:end]] {
				delete(c.byID, id)
				c.used.Remove(at)
				break
			}
		}
	}
}
