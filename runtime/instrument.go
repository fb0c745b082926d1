package runtime

import (
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/contextlog"
	"github.com/afgen/afgen/runtime/internal/lifecycle"
)

// An Instrumentation observes the operations of an App: see package instrument and [Instrument].
type Instrumentation = instrument.Instrumentation

// NoInstrument is an [Instrumentation] that does nothing. Instruments embed it.
type NoInstrument = instrument.NoInstrument

// Instrument makes instruments observe the App: its calls, tasks, jobs and raw messages. Package instrument documents
// what they see. The first one is called first, and at the end of an operation last. Nil ones have no effect. Programs
// whose workers have isolation=process give the option in the child processes, too.
func Instrument(all ...Instrumentation) AppOption {
	return func(s *settings) { s.instruments = append(s.instruments, all...) }
}

// Instruments returns the instruments of the App in their order, such as for a package that exports what they have seen.
func (a *App) Instruments() []Instrumentation { return a.hooks.All() }

// Load returns how busy the App is. It is empty before [App.Start] has returned, and never blocks.
func (a *App) Load() instrument.Load {
	if a.core == nil || a.core.tasks == nil || a.life.State() < lifecycle.Running {
		return instrument.Load{}
	}
	load := a.core.tasks.Load()
	load.LostLogs = a.lostLogs()
	return load
}

// lostLogs returns the number of log records that were lost, by reason.
func (a *App) lostLogs() map[string]int64 {
	lost := map[string]int64{}
	if h, ok := a.log.Handler().(*contextlog.Handler); ok {
		lost = h.Lost()
	}
	if a.core != nil && a.core.lines.Lost() > 0 {
		lost["live"] = a.core.lines.Lost()
	}
	return lost
}
