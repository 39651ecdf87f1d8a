package redisstore

// script enters a nonce. It needs the commands of Redis 5.0.
//
// KEYS are a sorted set of nonces by expiry, the horizon, and the owner of this
// nonce. ARGV are the nonce, its expiry in milliseconds since 1970, the owner of
// this call, and the owner's lifetime in milliseconds.
//
// Each call drops up to 16 expired nonces and adds one, so the set stays about as
// large as the number of live nonces. ZREM comes before SET because a Redis that is
// full refuses a script at its first command that needs memory, but lets a script
// continue once it has freed some.
const script = `local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local set, nonce, expires, owner, life = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if redis.call('ZSCORE', set, nonce) then
	if redis.call('GET', KEYS[3]) ~= owner then
		return 'used'
	end
	redis.call('SET', KEYS[3], owner, 'PX', life)
	return 'fresh'
end
local horizon = tonumber(redis.call('GET', KEYS[2]) or 0)
local over = redis.call('ZRANGEBYSCORE', set, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 16)
for i = 1, #over, 2 do
	redis.call('ZREM', set, over[i])
end
if #over > 0 and tonumber(over[#over]) > horizon then
	horizon = tonumber(over[#over])
	redis.call('SET', KEYS[2], string.format('%.0f', horizon))
end
if expires <= now or expires <= horizon then
	return 'expired'
end
redis.call('ZADD', set, string.format('%.0f', expires), nonce)
redis.call('SET', KEYS[3], owner, 'PX', life)
return 'fresh'`
