package lease

// What acquire answers first. Its second answer is a token, its third a time in
// milliseconds from now: until the holder's expiry (held), or until the
// predecessor's (takenOver, where it is usually past).
const (
	held int64 = iota
	takenFirst
	takenReleased
	takenOver
)

// The fence is a hash: token, the last one given, and until, when its holder's
// lease expires, which is absent once it was released.
//
// Tokens follow Redis's clock in milliseconds, so that they still grow when
// Redis has lost the last one.
const acquire = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local fence = redis.call('HMGET', KEYS[2], 'token', 'until')
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return {0, tonumber(fence[1] or '0'), redis.call('PTTL', KEYS[1])}
end
local token = math.max(tonumber(fence[1] or '0') + 1, now)
redis.call('HSET', KEYS[2], 'token', string.format('%.0f', token), 'until', string.format('%.0f', now + ARGV[2]))
if not fence[1] then return {1, token, 0} end
if not fence[2] then return {2, token, 0} end
return {3, token, tonumber(fence[2]) - now}
`

const renew = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local t = redis.call('TIME')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], 'until', string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2]))
return 1
`

const release = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HDEL', KEYS[2], 'until')
return 1
`
