package cli

import (
	"os"

	"golang.org/x/sys/windows"
)

// understandsEscapes makes a console understand escape sequences, and reports whether it does. Those before Windows 10
// don't, and that of Windows 10 only if it is told to.
func understandsEscapes(console *os.File) bool {
	h := windows.Handle(console.Fd())
	var mode uint32
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
