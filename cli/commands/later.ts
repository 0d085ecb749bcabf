import { type Command, Option } from 'commander'
import { type DelayedMessage, defineTopic, type Schedule, string } from '../../client/index.js'
import { type CommonOptions, wholeNumber, withClient, withCommon } from '../options.js'
import { printJson, printTable } from '../output.js'

interface ListOptions extends CommonOptions {
  readonly limit: number
}

interface SetOptions extends CommonOptions {
  readonly cron: string
  readonly timeZone?: string
  readonly missed?: 'skip' | 'once' | 'all'
  readonly key?: string
  readonly partition?: number
}

/** Adds `delayed` and `schedule`. */
export function addLater(program: Command): void {
  addDelayed(program.command('delayed').description('list and cancel delayed messages'))
  addSchedules(program.command('schedule').description('publish messages at the times of a cron pattern'))
}

function addDelayed(delayed: Command): void {
  withCommon(delayed.command('list [topic]').description('list delayed messages by due time'))
    .option('--limit <n>', 'number of rows', wholeNumber(), 20)
    .action(async (topic: string | undefined, options: ListOptions) => {
      const messages: DelayedMessage[] = []
      const { count } = await withClient(options, async (client) => {
        if (options.limit > 0)
          for await (const message of client.delayed.list(topic)) {
            messages.push(message)
            if (messages.length >= options.limit) break
          }
        return client.delayed.count(topic)
      })
      if (options.json) return printJson({ count, messages })
      process.stdout.write(`${count} delayed\n`)
      if (messages.length === 0) return
      printTable([
        ['due', 'topic', 'partition', 'id'],
        ...messages.map((one) => [timeText(one.dueMs), one.topic, one.partition, one.id ?? '-']),
      ])
    })
  withCommon(delayed.command('cancel <topic> <id>').description('cancel a delayed message')).action(
    async (topic: string, id: string, options: CommonOptions) => {
      const cancelled = await withClient(options, (client) => client.delayed.cancel(topic, id))
      if (options.json) printJson({ topic, id, cancelled })
      else
        process.stdout.write(
          cancelled ? `cancelled ${id}\n` : `topic "${topic}" has no delayed message with the id ${id}\n`,
        )
      if (!cancelled) process.exitCode = 1
    },
  )
}

function addSchedules(schedule: Command): void {
  withCommon(schedule.command('set <name> <topic> <value>').description('create or replace a schedule'))
    .requiredOption('--cron <pattern>', 'cron pattern: five fields, or six with seconds first')
    .option('--time-zone <zone>', 'time zone, like Europe/Berlin; default UTC')
    .addOption(
      new Option('--missed <policy>', 'how to handle times that the broker missed while it was down').choices(
        ['skip', 'once', 'all'],
      ),
    )
    .option('-k, --key <key>', 'key of the messages')
    .option('--partition <n>', 'publish to this partition', wholeNumber())
    .action(async (name: string, topic: string, value: string, options: SetOptions) => {
      const { cron, timeZone, missed, key, partition } = options
      const nextDueMs = await withClient(options, (client) =>
        client.schedules.set(name, {
          topic: defineTopic(topic, { value: string }),
          message: { key, value, partition },
          cron,
          timeZone,
          missed,
        }),
      )
      if (options.json) printJson({ name, nextDueMs })
      else process.stdout.write(`schedule "${name}" fires next at ${timeText(nextDueMs)}\n`)
    })
  withCommon(schedule.command('list').description('list the schedules')).action(
    async (options: CommonOptions) => {
      const schedules: Schedule[] = []
      await withClient(options, async (client) => {
        for await (const one of client.schedules.list()) schedules.push(one)
      })
      if (options.json) return printJson(schedules)
      printTable([
        ['schedule', 'topic', 'cron', 'time zone', 'next', 'last', 'published', 'missed'],
        ...schedules.map((one) => [
          one.name,
          one.topic,
          one.cron,
          one.timeZone,
          one.nextDueMs === undefined ? '-' : timeText(one.nextDueMs),
          one.lastDueMs === undefined ? '-' : timeText(one.lastDueMs),
          one.firedCount,
          one.missedCount,
        ]),
      ])
    },
  )
  withCommon(schedule.command('delete <name>').description('delete a schedule')).action(
    async (name: string, options: CommonOptions) => {
      await withClient(options, (client) => client.schedules.delete(name))
      if (options.json) printJson({ name, deleted: true })
      else process.stdout.write(`deleted schedule "${name}"\n`)
    },
  )
}

function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
