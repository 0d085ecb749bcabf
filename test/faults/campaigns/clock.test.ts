import { testShortCampaign } from '../short_campaign.js'
import { clock } from './clock.js'

testShortCampaign(clock)
