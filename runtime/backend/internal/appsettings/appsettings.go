// Package appsettings converts the sections of a configuration that concern the App, whatever its backend. The backends
// that are made from a configuration pass them to the App, so that no key is without effect.
package appsettings

import (
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/runtime/logs"
)

// From returns the settings in the sections tasks, workers and logger. A Config that wasn't parsed, whose Logger is
// zero, has no log in its settings.
func From(cfg config.Config) backend.Settings {
	s := backend.Settings{
		IP: cfg.Tasks.IP, Lease: cfg.Tasks.Lease, WrongVersionAfter: cfg.Tasks.WrongVersionAfter,
		Retention:  backend.Retention{Age: cfg.Tasks.Retention.Age, Max: cfg.Tasks.Retention.Max},
		ConfigFile: cfg.File,
	}
	if cfg.Workers != nil {
		s.Workers = map[string]backend.WorkerSettings{}
		for queue, w := range cfg.Workers.Queues {
			s.Workers[queue] = backend.WorkerSettings(*w)
		}
	}
	if cfg.Logger != (config.Logger{}) {
		s.OpenLog = OpenLog(cfg.Logger)
	}
	return s
}

// OpenLog returns a function that opens the log that c describes, and returns its handler and a function that closes
// it. A zero c means the defaults.
func OpenLog(c config.Logger) func() (slog.Handler, func() error, error) {
	if c == (config.Logger{}) {
		c = config.Default().Logger
	}
	console := c.Console || c.Format == ""
	o := logs.Options{
		Dir: c.Path, Level: c.Level, JSON: console && c.Format == config.FormatJSON,
		ConsoleOnly: c.Path == "", FilesOnly: !console,
	}
	return func() (slog.Handler, func() error, error) {
		l, err := logs.Open(o)
		if err != nil {
			return nil, nil, err
		}
		return l.Handler(), l.Close, nil
	}
}
