import type { Command } from 'commander'
import {
  type Client,
  type GroupDescription,
  isMillraceError,
  MillraceError,
  type StartPosition,
} from '../../client/index.js'
import { type CommonOptions, collect, wholeNumber, withClient, withCommon } from '../options.js'
import { printJson, printTable } from '../output.js'
import { startPosition } from '../start_position.js'

interface SeekOptions extends CommonOptions {
  readonly to: StartPosition
  readonly partition?: readonly number[]
  readonly create?: true
}

export function addGroup(program: Command): void {
  const group = program.command('group').description('list, describe, seek, pause and delete consumer groups')
  withCommon(group.command('list').description('list the groups')).action(async (options: CommonOptions) => {
    const groups = await withClient(options, (client) => client.groups.list())
    if (options.json) return printJson(groups)
    printTable([['group', 'members', 'topics'], ...groups.map((one) => [one.group, one.members, one.topics])])
  })
  withCommon(
    group.command('describe <group>').description('show the members, offsets and lag of a group'),
  ).action(async (name: string, options: CommonOptions) => {
    const description = await withClient(options, (client) => client.groups.describe(name))
    if (options.json) printJson(description)
    else printDescription(description)
  })
  withCommon(group.command('seek <group> <topic>').description('move the committed offsets of a group'))
    .requiredOption('--to <where>', 'earliest, latest, an offset, or a time', startPosition)
    .option('--partition <n>', 'only this partition; repeatable', collect(wholeNumber()))
    .option('--create', 'create the group if it does not exist, so that it starts there')
    .action(async (name: string, topic: string, options: SeekOptions) => {
      const { partition: partitions, create } = options
      const moved = await withClient(options, (client) =>
        seek(client, name, topic, options.to, { partitions, create }),
      )
      if (options.json) return printJson(moved)
      printTable([['partition', 'offset'], ...moved.map((one) => [one.partition, one.offset])])
    })
  for (const [name, done, description] of [
    ['pause', 'paused', 'pause a group: its members lose all partitions until resume'],
    ['resume', 'resumed', 'resume a paused group'],
  ] as const) {
    withCommon(group.command(`${name} <group>`).description(description)).action(
      async (one: string, options: CommonOptions) => {
        const exists = await withClient(options, async (client) => {
          await client.groups[name](one)
          return (await client.groups.list()).some(({ group: known }) => known === one)
        })
        if (options.json) return printJson({ group: one, paused: name === 'pause' })
        process.stdout.write(`${done} group "${one}"\n`)
        if (!exists)
          process.stderr.write(
            `millrace: there is no stream group "${one}" yet${name === 'pause' ? '; it will start paused' : ''}\n`,
          )
      },
    )
  }
  withCommon(group.command('delete <group>').description('delete a group and its offsets')).action(
    async (name: string, options: CommonOptions) => {
      await withClient(options, (client) => client.groups.delete(name))
      if (options.json) printJson({ group: name, deleted: true })
      else process.stdout.write(`deleted group "${name}"\n`)
    },
  )
}

async function seek(
  client: Client,
  group: string,
  topic: string,
  to: StartPosition,
  options: Parameters<Client['groups']['seek']>[3],
): ReturnType<Client['groups']['seek']> {
  try {
    return await client.groups.seek(group, topic, to, options)
  } catch (error) {
    if (!isMillraceError(error, 'UNKNOWN_GROUP')) throw error
    throw new MillraceError('UNKNOWN_GROUP', `${error.message}; --create makes a new group`, { cause: error })
  }
}

function printDescription(description: GroupDescription): void {
  const { group, state, members, partitions, paused, singleActive, reasons } = description
  const lag = partitions.reduce((sum, one) => sum + one.lag, 0)
  const notes = `${paused ? ', paused' : ''}${singleActive ? ', one active member' : ''}`
  process.stdout.write(`${group}: ${state}${notes}, ${members.length} members, lag ${lag}\n`)
  for (const reason of reasons) process.stdout.write(`! ${reason}\n`)
  if (members.length > 0) {
    const rows = members.map((one) => [one.memberId, one.clientName, one.address, one.partitions])
    printTable([['member', 'client', 'address', 'partitions'], ...rows])
  }
  const rows = partitions.map((one) => [
    one.topic,
    one.partition,
    one.committedOffset ?? '-',
    one.endOffset,
    one.lag,
    one.oldestTimestampMs === undefined ? '-' : new Date(one.oldestTimestampMs).toISOString(),
    one.memberId ?? '-',
  ])
  if (rows.length > 0)
    printTable([['topic', 'partition', 'committed', 'end', 'lag', 'oldest', 'member'], ...rows])
}
