package cli

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/afgen/afgen/cmd/af/internal/text"
)

// progress returns a bar for n steps on the terminal, or nil if the standard error is no terminal. n is -1 if the
// number is unknown.
func (c *invocation) progress(n int, what string) *progressbar.ProgressBar {
	if !c.Err.Terminal {
		return nil
	}
	return progressbar.NewOptions(n, progressbar.OptionSetWriter(&c.Err), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30),
		progressbar.OptionSetSpinnerChangeInterval(0)) // the spinner turns with the steps, and has no goroutine
}

// meterInterval is the time between two lines of a meter.
const meterInterval = 5 * time.Second

// A meter shows how far long work has come, on the standard error: as a bar on a terminal, and elsewhere as a line
// every 5 s. Its owner calls end before it prints anything else.
type meter struct {
	c           *invocation
	what        string // such as "retrying tasks"
	done, total int    // total is -1 if it is unknown
	bar         *progressbar.ProgressBar
	printed     time.Time
}

// meter returns a meter of total steps, or of an unknown number if total is negative.
func (c *invocation) meter(what string, total int) *meter {
	return &meter{c: c, what: what, total: max(total, -1), printed: c.Now()}
}

// add shows that n more steps are done.
func (m *meter) add(n int) {
	m.done += n
	if m.total >= 0 {
		m.total = max(m.total, m.done) // the number of tasks may have been a lower bound
	}
	if m.c.Err.Terminal {
		m.addToBar(n)
		return
	}
	if now := m.c.Now(); now.Sub(m.printed) >= meterInterval {
		m.printed = now
		of := ""
		if m.total > 0 {
			of = " of " + text.Number(int64(m.total))
		}
		fmt.Fprintf(&m.c.Err, "af: %s: %s%s\n", m.what, text.Number(int64(m.done)), of)
	}
}

func (m *meter) addToBar(n int) {
	if m.total == 0 {
		return
	}
	if m.bar == nil {
		m.bar = m.c.progress(m.total, m.what)
	}
	if m.total > 0 && m.bar.GetMax() < m.total {
		m.bar.ChangeMax(m.total)
	}
	_ = m.bar.Add(n) // a bar that can't be shown must not end the work
}

// end removes the bar.
func (m *meter) end() {
	if m.bar != nil {
		_ = m.bar.Exit()
		_ = m.bar.Clear()
		m.bar = nil
	}
}
