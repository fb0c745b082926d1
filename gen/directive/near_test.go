package directive

import "testing"

func TestSynonymsOfKeys(t *testing.T) {
	known := map[string]bool{}
	for _, s := range table {
		for _, k := range s.Keys {
			known[k.Name] = true
			for _, word := range alsoCalled[k.Name] {
				if near, ok := s.near(word); !ok || near == "" {
					t.Errorf("//af:%s %s=: no suggestion", s.Name, word)
				}
			}
		}
	}
	for key := range alsoCalled {
		if !known[key] {
			t.Errorf("no directive has the key %s", key)
		}
	}
	worker, _ := Lookup("worker")
	for word, want := range map[string]string{"retry": "retries", "Retry": "retries", "retires": "retries",
		"priority": "weight", "colour": ""} {
		if near, _ := worker.near(word); near != want {
			t.Errorf("//af:worker %s= suggests %q, want %q", word, near, want)
		}
	}
}
