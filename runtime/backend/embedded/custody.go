package embedded

import (
	"log/slog"
	"os"
)

// A custody sees that the file, or this peer's lock, was taken away while they were in use, which the system allows and
// SQLite doesn't notice: what is written goes nowhere then, and whoever opens the path is in another world.
type custody struct {
	seen map[string]os.FileInfo
	told bool
}

func newCustody(paths ...string) *custody {
	c := &custody{seen: map[string]os.FileInfo{}}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			c.seen[path] = info
		}
	}
	return c
}

// look says so in the log, once.
func (c *custody) look(log *slog.Logger) {
	for path, was := range c.seen {
		if c.told {
			return
		}
		is, err := os.Stat(path)
		if os.IsNotExist(err) || err == nil && !os.SameFile(was, is) {
			c.told = true
			log.Error("a file was removed or replaced while it was in use; nobody who comes later finds this process, and its tasks are lost: "+
				"start it again", "file", path)
		}
	}
}
