package cli

import (
	"github.com/schollz/progressbar/v3"
)

// progress returns a bar for n steps on the terminal, or nil if the standard error is no terminal.
func (c *invocation) progress(n int, what string) *progressbar.ProgressBar {
	if !c.Err.Terminal {
		return nil
	}
	return progressbar.NewOptions(n, progressbar.OptionSetWriter(&c.Err), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
}
