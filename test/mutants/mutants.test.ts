import { readdir } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import { suite } from '../helpers/suite.js'
import { type Mutant, mutants } from './mutants.js'
import { checkTexts } from './workshop.js'

const test = suite('mutants')

test('the text of each mutant occurs once in its file, and names are unique', async () => {
  await checkTexts(mutants)
  assert.is(new Set(mutants.map(({ name }) => name)).size, mutants.length)
})

test('each mutant has tests in its areas', async () => {
  const files = await readdir(new URL('../', import.meta.url), { recursive: true })
  const tests = files.filter((file) => file.endsWith('.test.js'))
  for (const { name, areas } of mutants)
    for (const area of areas)
      assert.ok(
        tests.some((file) => file.includes(area)),
        `${name}: no test file has "${area}" in its path`,
      )
})

test('a mutant whose text is gone is an error that names it, its file and the text', async () => {
  const [first] = mutants
  assert.ok(first)
  const gone: Mutant = { ...first, name: 'gone', text: 'there is no such text' }
  const error = await checkTexts([gone]).then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.instance(error, Error)
  assert.match(
    (error as Error).message,
    /gone: storage\/level_engine.ts has this text 0 times.*\nthere is no such/,
  )
})

test.run()
