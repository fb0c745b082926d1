package embedded

import (
	"log/slog"
	"os"
)

// A fileWatch detects that the file or this peer's lock was removed or replaced while in use. The system allows that
// and SQLite doesn't notice it: writes are lost, and processes that open the path later use another file.
type fileWatch struct {
	infos    map[string]os.FileInfo
	reported bool
}

func newFileWatch(paths ...string) *fileWatch {
	w := &fileWatch{infos: map[string]os.FileInfo{}}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			w.infos[path] = info
		}
	}
	return w
}

// checkReplaced logs an error, once, if a file was removed or replaced.
func (w *fileWatch) checkReplaced(log *slog.Logger) {
	for path, was := range w.infos {
		if w.reported {
			return
		}
		is, err := os.Stat(path)
		if os.IsNotExist(err) || err == nil && !os.SameFile(was, is) {
			w.reported = true
			log.Error("a file was removed or replaced while in use: new processes cannot see this one and its tasks are lost, "+
				"restart it", "file", path)
		}
	}
}
