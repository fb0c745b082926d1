package prelude

import (
	"slices"
	"sync"

	af "github.com/afgen/afgen/runtime"
)

type WelcomeQueue struct{ af.VoidQueue[string] }

func NewWelcomeQueue(t af.TaskClient) *WelcomeQueue { panic("") }

func RegisterWelcome(r af.Registrar, w *Welcome) {}

var (
	_ sync.Mutex
	_ = slices.Equal[[]int]
)
