package memory

import "github.com/afgen/afgen/runtime/backend"

// addFailed adds a task that has failed to the list of its error's code.
func (q *queue) addFailed(r *record) {
	if q.failed == nil {
		q.failed = map[backend.Code]*taskList{}
	}
	code := errorCode(r)
	l := q.failed[code]
	if l == nil {
		l = &taskList{}
		q.failed[code] = l
	}
	l.add(r)
}

// removeFailed removes a deleted task from the list of its error's code, and the list if it is empty.
func (q *queue) removeFailed(r *record) {
	if r.Status != backend.StatusFailed {
		return
	}
	code := errorCode(r)
	l := q.failed[code]
	if l.countDeleted(r); len(l.list) == l.deleted {
		delete(q.failed, code)
	}
}

func errorCode(r *record) backend.Code {
	if r.Error == nil {
		return ""
	}
	return r.Error.Code
}
