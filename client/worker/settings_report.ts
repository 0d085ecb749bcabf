import { MillraceError, type QueueSettings, type QueueSettingsInput } from '../../protocol/index.js'

/**
 * Describes how the settings of a queue group differ between its workers; undefined if nothing differs.
 * @param given the settings of this worker
 * @param inForce the settings at the broker
 * @param replaced the settings from other workers that this worker replaced
 */
export function settingsConflict(
  group: string,
  given: QueueSettingsInput | undefined,
  inForce: QueueSettings,
  replaced: QueueSettings | undefined,
): MillraceError | undefined {
  const changed = replaced === undefined ? [] : differences(inForce, replaced)
  if (changed.length > 0) {
    const list = changed.map(([name, now, before]) => `${name} from ${before} to ${now}`)
    const what = `this worker changed settings of queue group "${group}", which has other workers`
    return new MillraceError(
      'BAD_CONFIG',
      `${what}: ${list.join(', ')}; give the same settings to all workers`,
    )
  }
  const other = differences(given ?? {}, inForce)
  if (other.length === 0) return undefined
  const list = other.map(([name, mine, actual]) => `${name} is ${actual}, this worker gave ${mine}`)
  return new MillraceError('BAD_CONFIG', `queue group "${group}" has other settings: ${list.join(', ')}`)
}

type Difference = readonly [name: string, first: string, second: string]

/** The settings of the first object that differ in the second. */
function differences(first: QueueSettingsInput, second: QueueSettings): Difference[] {
  return (Object.keys(second) as (keyof QueueSettings)[]).flatMap((name): Difference[] => {
    if (first[name] === undefined) return []
    const [one, other] = [textOf(first[name]), textOf(second[name])]
    return one === other ? [] : [[name, one, other]]
  })
}

function textOf(value: QueueSettings[keyof QueueSettings] | undefined): string {
  if (typeof value !== 'object') return JSON.stringify(value)
  const { kind, delayMs, maxMs, jitterPercent } = value
  return JSON.stringify({ kind, delayMs, maxMs, jitterPercent })
}
