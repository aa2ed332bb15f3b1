-- Uses that are added for late consumers, and leases: uses that are given back
-- when their consumer is not heard of for too long.
--
--    framedb:leases      sorted set: a lease's ID by when it lapses, in
--                        milliseconds by the master's clock
--    framedb:lease:<ID>  hash: how many uses it holds of each count key
--
-- Whatever holds uses stands in both; both are gone with the last use.

local leases, lease = 'framedb:leases', 'framedb:lease:'

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- living is the count if it is above zero.
local function living(key)
  local n = redis.call('GET', key)
  if n and (tonumber(n) or 1) > 0 then return n end
end

-- each calls hold(key, by) for each key until one fails: then it calls undo for
-- those before it, and returns the failure. hold returns a result.
local function each(keys, groups, results, hold, undo)
  for _, g in ipairs(groups) do
    for i = g.first, g.last do
      local good, n = pcall(hold, keys[i], g.by)
      if not good then
        for _, g in ipairs(groups) do
          for j = g.first, math.min(g.last, i - 1) do
            if results[j] ~= -1 then undo(keys[j], g.by) end
          end
        end
        return redis.error_reply('BADCOUNT ' .. keys[i])
      end
      results[i] = n
    end
  end
end

local function add(key, by)
  return living(key) and redis.call('INCRBY', key, by) or -1
end

local function take_off(key, by) redis.call('DECRBY', key, by) end

-- retain adds uses to counts above zero. KEYS, ARGV and answer are those of
-- decrement, without sizes; -1 stands for a frame that is gone or going.
local function retain(keys, args)
  return once(keys, function(keys)
    local results = {}
    local failed = each(keys, parse(args, 1), results, add, take_off)
    return failed or pack(keys, results)
  end)
end

-- take has a lease hold uses, and makes it if need be. ARGV: its ID, for how
-- many milliseconds from now, whether uses are added ("1") or, of those that
-- the count has, claimed ("0"), and how many keys a lease may hold; then as
-- retain. -1 also stands for a claim of more than there are.
local function take(keys, args)
  return once(keys, function(keys)
    local id, hash, at = args[1], lease .. args[1], now()
    local ends = redis.call('ZSCORE', leases, id)
    if ends and tonumber(ends) <= at then return redis.error_reply('LAPSED it gives back what it holds') end
    if redis.call('HLEN', hash) + #keys > tonumber(args[4]) then return redis.error_reply('FULL it holds too many') end
    local function claim(key, by)
      local n, held = living(key), redis.call('HGET', hash, key) or 0
      if not n or held + by > n + 0 then return -1 end
      redis.call('HINCRBY', hash, key, by)
      return n + 0
    end
    local function add_and_hold(key, by)
      local n = add(key, by)
      if n ~= -1 then redis.call('HINCRBY', hash, key, by) end
      return n
    end
    local function let_go(key, by)
      if redis.call('HINCRBY', hash, key, -by) == 0 then redis.call('HDEL', hash, key) end
    end
    local function let_go_and_take_off(key, by)
      let_go(key, by)
      take_off(key, by)
    end
    local results, failed = {}, nil
    if args[3] == '1' then
      failed = each(keys, parse(args, 5), results, add_and_hold, let_go_and_take_off)
    else
      failed = each(keys, parse(args, 5), results, claim, let_go)
    end
    if failed then return failed end
    if redis.call('EXISTS', hash) == 1 then redis.call('ZADD', leases, at + args[2], id) end
    return pack(keys, results)
  end)
end

-- renew has a lease that has not lapsed last for ARGV[2] milliseconds from now.
-- Answers 0 when there is none.
local function renew(keys, args)
  local ends, at = redis.call('ZSCORE', leases, args[1]), now()
  if not ends or tonumber(ends) <= at then return 0 end
  redis.call('ZADD', leases, at + args[2], args[1])
  return 1
end

-- forget takes a lease away that holds nothing.
local function forget(id)
  if redis.call('EXISTS', lease .. id) == 0 then redis.call('ZREM', leases, id) end
end

-- put_back counts down what a lease holds: by as much as is asked for, but no
-- more than it holds. ARGV: its ID, then as decrement, whose answer it gives;
-- -1 also stands for a key of which it holds nothing.
local function put_back(keys, args)
  return once(keys, function(keys)
    local hash, asked, held, groups, at = lease .. args[1], parse(args, 2), {}, {}, {}
    for _, g in ipairs(asked) do
      for i = g.first, g.last do
        local has = tonumber(redis.call('HGET', hash, keys[i]) or 0)
        if has > 0 then
          held[#held + 1], at[#at + 1] = keys[i], i
          local by = string.format('%.0f', math.min(has, tonumber(g.by)))
          groups[#groups + 1] = {first = #held, last = #held, by = by, sizes = g.sizes, all = g.all}
        end
      end
    end
    local results, all = {}, {}
    if not pcall(lower, held, groups, results) then
      raise(held, groups, results)
      return redis.error_reply('BADCOUNT ' .. held[#results + 1])
    end
    unlink(held, groups, results)
    for j, g in ipairs(groups) do
      if redis.call('HINCRBY', hash, held[j], '-' .. g.by) == 0 then redis.call('HDEL', hash, held[j]) end
    end
    forget(args[1])
    exact(held, results)
    for i = 1, #keys do all[i] = -1 end
    for j, i in ipairs(at) do all[i] = results[j] end
    return cmsgpack.pack(all)
  end)
end

-- give_back counts down up to max keys of what a lease holds, each once: they
-- leave it in the same step. Returns keys given back, data keys unlinked, and
-- keys still held.
local function give_back(id, max)
  local hash = lease .. id
  local held, keys, groups, results, gone = redis.call('HRANDFIELD', hash, max, 'WITHVALUES'), {}, {}, {}, 0
  for i = 1, #held, 2 do
    keys[#keys + 1] = held[i]
    groups[#groups + 1] = {first = #keys, last = #keys, by = held[i + 1], sizes = {}, all = true}
  end
  lower_good(keys, groups, results)
  unlink(keys, groups, results)
  for i, n in ipairs(results) do
    if n <= -2 then gone = gone - 2 - n end
    redis.call('HDEL', hash, keys[i])
  end
  forget(id)
  return #keys, gone, redis.call('HLEN', hash)
end

-- release ends a lease: ARGV its ID and for how many keys at once. Answers as
-- give_back; when keys are still held, ask again.
local function release(keys, args)
  redis.call('ZADD', leases, 'XX', 0, args[1])
  return {give_back(args[1], args[2])}
end

-- lapse gives back what leases held that have lapsed, up to ARGV[1] keys of one.
-- Answers its ID, and as give_back; an empty ID when none has.
local function lapse(keys, args)
  local id = redis.call('ZRANGEBYSCORE', leases, '-inf', now(), 'LIMIT', 0, 1)[1]
  if not id then return {'', 0, 0, 0} end
  return {id, give_back(id, args[1])}
end

-- list answers, for each of up to ARGV[1] leases, its ID, how many milliseconds
-- it lasts, and how many keys it holds; the first to lapse first.
local function list(keys, args)
  local all, answer, at = redis.call('ZRANGE', leases, 0, args[1] - 1, 'WITHSCORES'), {}, now()
  for i = 1, #all, 2 do
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = math.max(0, all[i + 1] - at)
    answer[#answer + 1] = redis.call('HLEN', lease .. all[i])
  end
  return answer
end
