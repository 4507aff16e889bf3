package delivery

import "math"

// Assign reports whether a prediction belongs to the canary of a rollout that gets a share of the traffic. The same
// prediction id always belongs to the same side of one rollout, and a larger share keeps those that had it. It does not
// allocate.
func Assign(rollout int64, prediction string, share float64) bool {
	const (
		offset = 14695981039346656037
		prime  = 1099511628211
	)
	h := uint64(offset)
	for i := range 8 {
		h = (h ^ uint64(rollout)>>(8*i)&0xff) * prime
	}
	for i := range len(prediction) {
		h = (h ^ uint64(prediction[i])) * prime
	}
	// FNV-1a alone leaves the high bits of short ids alike; finish with the mixer of SplitMix64.
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return float64(h>>11)/(1<<53) < math.Min(share, 1)
}
