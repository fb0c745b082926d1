package runtime

import (
	"errors"
	"maps"
	"strings"

	"github.com/afgen/afgen/runtime/internal/registration"
)

// Observer opens an App that only reads and administers, such as that of an admin page or a command. It can make calls,
// submit, stop, retry and wait for tasks, and change limits and jobs. It is no instance: it is in no list of instances,
// workers or nodes, sends no heartbeats, reports no machine, detects no dead processes, deletes no expired tasks and
// fires no jobs. While nothing is requested of it, it sends no request to the backend. It opens although the disk is
// full or the embedded file is read-only; then its changes fail. Start is needed before it is used, as for other Apps.
//
// If services, workers or jobs are registered, Start returns [ErrInvalidArgument]. [App.Receive] and
// [App.StartScheduler] return [ErrFailedPrecondition]. Open returns [ErrInvalidArgument] if an option is given that
// concerns only these, such as [ConfigureWorker], [MaxCrashes] or [NoScheduler]. Settings of a configuration file that
// programs share have no effect, nor have the options made from it: [Lease], [Retention], [WrongVersionAfter] and
// [NodeFacts].
func Observer() AppOption { return func(s *settings) { s.observer = true } }

// checkObserver returns an error if options are given that have no effect on an observer. configured has the settings
// before the options.
func (s *settings) checkObserver(configured settings) error {
	if !s.observer {
		return nil
	}
	layers := 0
	for queue, all := range s.workers {
		layers += len(all) - len(configured.workers[queue])
	}
	var given []string
	for _, o := range []struct {
		name string
		set  bool
	}{
		{"ChildGrace", s.child.grace != configured.child.grace}, {"ChildMemory", s.child.memory != configured.child.memory},
		{"ConfigureWorker", layers > 0}, {"InProcess", s.child.off}, {"MaxCrashes", s.maxCrashes != configured.maxCrashes},
		{"NoScheduler", s.idle}, {"ServerMiddleware", len(s.server) > 0}, {"WorkerMiddleware", len(s.worker) > 0},
	} {
		if o.set {
			given = append(given, o.name)
		}
	}
	if len(given) > 0 {
		return Errorf(ErrInvalidArgument, "Open: options without effect on an Observer: %s", strings.Join(given, ", "))
	}
	return nil
}

// withoutOptions returns a copy of the settings that options do not change.
func (s *settings) withoutOptions() settings {
	c := *s
	c.workers = maps.Clone(s.workers)
	return c
}

// checkObserved returns an error for each registration with an observer.
func (a *App) checkObserved() error {
	if !a.settings.observer {
		return nil
	}
	var errs []error
	refuse := func(pkg, typ string) {
		errs = append(errs, Errorf(ErrInvalidArgument, "%s: an Observer serves and runs nothing",
			registration.Func(pkg, typ)))
	}
	for _, s := range a.services {
		refuse(s.Package, s.Type)
	}
	for _, w := range a.workers {
		refuse(w.Package, w.Type)
	}
	return errors.Join(errs...)
}

// refuseObserver returns an error if the App is an observer, which can't do what.
func (a *App) refuseObserver(what string) error {
	if !a.settings.observer {
		return nil
	}
	return Errorf(ErrFailedPrecondition, "%s: the app is an Observer", what).With(OutcomeNotSent)
}
