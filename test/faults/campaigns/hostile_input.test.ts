import { testShortCampaign } from '../short_campaign.js'
import { hostileInput } from './hostile_input.js'

testShortCampaign(hostileInput)
