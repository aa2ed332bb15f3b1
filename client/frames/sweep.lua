-- Unlinks what was twice seen to be left over, unless it has changed since, or
-- has become an object.
--
-- ARGV: for each leftover "data", a data key and its count key; "count", a
-- count key, what it held and how many keys of data, which are then gone when
-- the count was above zero; or "spent", the same, and its data goes, too.
--
-- Answers how many leftovers were still that, and how many keys were unlinked.
local function bury(keys, args)
  local arg, found, gone = 1, 0, 0
  while arg <= #args do
    local kind, key = args[arg], args[arg + 1]
    local dead, also = false, {key}
    if kind == 'data' then
      dead = redis.call('EXISTS', args[arg + 2]) == 0
      arg = arg + 3
    else
      local data, n = {}, tonumber(args[arg + 3])
      for i = 1, n do data[i] = args[arg + 3 + i] end
      dead = redis.call('TYPE', key).ok == 'string' and redis.call('GET', key) == args[arg + 2]
      if kind == 'spent' then
        for _, d in ipairs(data) do also[#also + 1] = d end
      elseif dead and n > 0 then
        dead = redis.call('EXISTS', unpack(data)) == 0
      end
      arg = arg + 4 + n
    end
    dead = dead and redis.call('EXISTS', 'framedb:object:' .. key) == 0
    local n = dead and redis.call('UNLINK', unpack(also)) or 0
    if n > 0 then found, gone = found + 1, gone + n end
  end
  return {found, gone}
end
