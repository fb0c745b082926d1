// Package appsettings converts the sections of a configuration that concern the App, whatever its backend. The backends
// that are made from a configuration pass them to the App, so that no key is without effect.
package appsettings

import (
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/config"
	"github.com/afgen/afgen/runtime/logs"
)

// From returns the settings in the sections tasks and logger. The log goes to the console and to daily files in
// logger.path; if that is empty, as in a Config that wasn't parsed, the settings have no log.
func From(cfg config.Config) backend.Settings {
	s := backend.Settings{
		IP: cfg.Tasks.IP, Lease: cfg.Tasks.Lease, WrongVersionAfter: cfg.Tasks.WrongVersionAfter,
		Retention: backend.Retention{Age: cfg.Tasks.Retention.Age, Max: cfg.Tasks.Retention.Max},
	}
	if cfg.Logger.Path != "" {
		s.OpenLog = OpenLog(cfg.Logger)
	}
	return s
}

// OpenLog returns a function that opens the log that c describes, and returns its handler and a function that closes
// it.
func OpenLog(c config.Logger) func() (slog.Handler, func() error, error) {
	return func() (slog.Handler, func() error, error) {
		l, err := logs.Open(logs.Options{Dir: c.Path, Level: c.Level})
		if err != nil {
			return nil, nil, err
		}
		return l.Handler(), l.Close, nil
	}
}
